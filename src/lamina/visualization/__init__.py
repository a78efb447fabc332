"""Pictures of training and of predictions.

Source: https://keras.io/api/visualization/
"""

from lamina.visualization.curves import plot_history as plot_history
from lamina.visualization.gallery import plot_predictions as plot_predictions
