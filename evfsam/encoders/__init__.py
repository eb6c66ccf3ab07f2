"""What reads image and phrase together: BEiT-3, CLIP, ViLT, and their tokenizers."""
