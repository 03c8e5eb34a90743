"""How tokens get to the GPUs of their experts and back. One file each, under vLLM's names (--all2all-backend)."""
