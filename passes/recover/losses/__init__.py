"""The formulas of distillation, one small function each: tensors in, one number a sample out."""
