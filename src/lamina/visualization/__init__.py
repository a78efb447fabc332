"""Pictures of training and of predictions.

Source: https://keras.io/api/visualization/
"""

from lamina.visualization.classification import plot_calibration as plot_calibration
from lamina.visualization.classification import plot_confusion_matrix as plot_confusion_matrix
from lamina.visualization.classification import plot_misclassified as plot_misclassified
from lamina.visualization.curves import plot_history as plot_history
from lamina.visualization.drawing import draw_bounding_boxes as draw_bounding_boxes
from lamina.visualization.drawing import draw_segmentation_masks as draw_segmentation_masks
from lamina.visualization.gallery import plot_predictions as plot_predictions
from lamina.visualization.image_galleries import plot_bounding_box_gallery as plot_bounding_box_gallery
from lamina.visualization.image_galleries import plot_image_gallery as plot_image_gallery
from lamina.visualization.image_galleries import plot_segmentation_mask_gallery as plot_segmentation_mask_gallery
from lamina.visualization.insides import plot_attention as plot_attention
from lamina.visualization.insides import plot_feature_maps as plot_feature_maps
from lamina.visualization.insides import plot_histograms as plot_histograms
from lamina.visualization.learning_rates import plot_batch_sizes as plot_batch_sizes
from lamina.visualization.learning_rates import plot_learning_rates as plot_learning_rates
