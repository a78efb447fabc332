"""The command line: which commands there are and what they take."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lamina.cli.convert import convert_file
from lamina.cli.demo import show_demo
from lamina.cli.doctor import examine_script
from lamina.cli.export import export_file
from lamina.cli.info import describe
from lamina.cli.inspect import inspect_file
from lamina.cli.run import run_script
from lamina.cli.watch import watch_folder
from lamina.core.errors import LaminaError
from lamina.version import __version__


def build_app() -> Any:
    """The typer application with all commands."""
    import typer

    app = typer.Typer(
        help="lamina: the Keras API, native on PyTorch.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    def show_version(asked: bool) -> None:
        if asked:
            print(f"lamina {__version__}")
            raise typer.Exit()

    @app.callback()
    def lamina(
        version: bool = typer.Option(
            False, "--version", callback=show_version, is_eager=True, help="Show the version."
        ),
    ) -> None:
        pass

    # What follows the script belongs to it, even where it looks like an option.
    after_script = {"ignore_unknown_options": True, "allow_interspersed_args": False}

    @app.command(context_settings=after_script)
    def run(
        script: Path = typer.Argument(help="A Python script written for Keras or tf.keras."),
        arguments: list[str] = typer.Argument(None, help="What the script sees as sys.argv[1:]."),
    ) -> None:
        """Run a script written for Keras as it is, on lamina."""
        raise typer.Exit(run_script(script, arguments or []))

    @app.command(context_settings=after_script)
    def doctor(
        script: Path = typer.Argument(help="A Python script that trains, written for lamina, Keras or tf.keras."),
        arguments: list[str] = typer.Argument(None, help="What the script sees as sys.argv[1:]."),
    ) -> None:
        """Run a script with a doctor in every fit; at the end, say what is wrong and what helps."""
        raise typer.Exit(examine_script(script, arguments or []))

    @app.command()
    def demo(
        out: Path = typer.Option(Path("demo"), help="The folder to write to."),
        epochs: int = typer.Option(10, min=1, help="How often to go through the training images."),
    ) -> None:
        """Train a small network on handwritten digits; write its curves, predictions and model."""
        show_demo(out, epochs)

    @app.command()
    def watch(
        folder: Path = typer.Argument(help="The folder of a training's report, such as fit(report=...) writes."),
        port: int = typer.Option(8765, min=0, max=65535, help="Where to serve; 0 for any free port."),
        every: int = typer.Option(3, min=1, help="Seconds after which the browser loads the page again."),
    ) -> None:
        """Serve the pages of a folder to this machine alone, while a training writes them."""
        try:
            watch_folder(folder, port, every)
        except OSError as error:
            print(f"lamina: {error}", file=sys.stderr)
            raise typer.Exit(1) from None

    @app.command()
    def info() -> None:
        """Show versions, devices, threads and the C++ compiler."""
        print(describe())

    _add_file_commands(app)
    return app


def _add_file_commands(app: Any) -> None:
    """Commands about files of models."""
    import typer

    @app.command()
    def inspect(file: Path = typer.Argument(help="A file of a model or of weights.")) -> None:
        """Show what a file holds and whether it looks as it should; nothing of it is made or run."""
        text, is_good = inspect_file(file)
        print(text)
        raise typer.Exit(0 if is_good else 1)

    @app.command()
    def convert(
        source: Path = typer.Argument(help="A file of a model or of weights."),
        target: Path = typer.Argument(help="The file to write; its ending names the format."),
    ) -> None:
        """Write a model or weights in another format: .keras, .h5, .weights.h5, .safetensors, .json."""
        try:
            print(convert_file(source, target))
        except LaminaError as error:
            print(f"lamina: {error}", file=sys.stderr)
            raise typer.Exit(1) from None

    @app.command()
    def export(
        source: Path = typer.Argument(help="A .keras or .h5 file."),
        target: Path = typer.Argument(help="Where to: .onnx, .pt2, .xml, .tflite, .safetensors or .pt."),
        format: str = typer.Option(None, help="Where the ending does not tell: aotinductor for .pt2, say."),
        shape: list[str] = typer.Option([], help='The shape of an input, such as "1,224,224,3" or "?,128".'),
    ) -> None:
        """Write a model for other programs to run, and compare what they compute."""
        try:
            print(export_file(source, target, format, shape))
        except (LaminaError, OSError) as error:
            print(f"lamina: {error}", file=sys.stderr)
            raise typer.Exit(1) from None


def main() -> None:
    """Run the command line."""
    build_app()(prog_name="lamina")
