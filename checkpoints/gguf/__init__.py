"""GGUF files, llama.cpp's format: metadata, tensors (quantised or not) and a tokenizer in one file; without torch."""
