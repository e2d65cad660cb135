"""What three or more of the notebooks need, and the plumbing that would only distract in them.

Import names from its modules: datasets, settings, download, metrics, pictures, training, learner, inference, environment.
"""

__version__ = "0.2.0"
