"""Quantization with training: fake quantization where the integers will be, the recovery engine, and the way back."""

from compressor.passes.quantizing.training.lesson import SITE, Lesson, Ranges
from compressor.passes.quantizing.training.once import Once, taught_once
from compressor.passes.quantizing.training.teach import Taught, taught

__all__ = ["SITE", "Lesson", "Once", "Ranges", "Taught", "taught", "taught_once"]
