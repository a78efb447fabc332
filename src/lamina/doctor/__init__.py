"""What is wrong with a model, its data or its training, and what to do about it."""

from lamina.doctor.finding import CODES as CODES
from lamina.doctor.finding import Finding as Finding
from lamina.doctor.finding import Findings as Findings
