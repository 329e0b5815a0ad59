"""What happens over time in a system of several dies: tokens on units of dies and on links."""
