"""ODE solvers, the loop that drives them towards the noise or the image, and trajectories."""
