"""Systems of several dies: which ones hold a model, how fast, at what power and cost."""
