"""What three or more of the notebooks need, and the plumbing that would only distract in them.

Import names from its modules: datasets, streets, download, metrics, pictures, training, inference, environment.
"""
