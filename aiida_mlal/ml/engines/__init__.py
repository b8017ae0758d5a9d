"""What evaluates a potential for one structure after another: torch, or kernels on the CPU."""
