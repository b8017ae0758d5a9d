"""What trajectories say: structure, diffusion, vibrations."""
