"""Models as scikit-learn estimators.

Source: https://keras.io/api/wrappers/
"""

from lamina.wrappers.sklearn import SKLearnClassifier as SKLearnClassifier
from lamina.wrappers.sklearn import SKLearnRegressor as SKLearnRegressor
from lamina.wrappers.sklearn import SKLearnTransformer as SKLearnTransformer
