"""A page about a training: curves, architecture, findings, mistakes, and what the numbers depend on."""

from lamina.report.page import write_report as write_report
