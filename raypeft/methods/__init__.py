"""One PEFT idea per file."""
