"""The command `lamina`."""

from lamina.cli.main import main as main
