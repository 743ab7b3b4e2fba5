"""synthorax: find what a chest X-ray dataset does not cover, and make exactly those radiographs.

Research only, not for diagnosis.
"""

__version__ = "0.1.0"
