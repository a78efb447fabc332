"""Tokenizer, pad_sequences and an Embedding, as in scripts for Keras 2."""
import numpy as np
from keras.layers import Dense, Embedding, Flatten
from keras.models import Sequential
from keras.preprocessing import sequence
from keras.preprocessing.sequence import TimeseriesGenerator, pad_sequences
from keras.preprocessing.text import Tokenizer, one_hot, text_to_word_sequence

texts = ["Well done!", "Good work", "Great effort", "nice work", "Excellent!"]
texts += ["Weak", "Poor effort!", "not good", "poor work", "Could have done better."]
labels = np.array([1] * 5 + [0] * 5)
tokenizer = Tokenizer(num_words=50)
tokenizer.fit_on_texts(texts)
padded = pad_sequences(tokenizer.texts_to_sequences(texts), maxlen=4, padding="post")
assert padded.shape == (10, 4) and sequence.pad_sequences is pad_sequences
assert tokenizer.texts_to_matrix(texts).shape == (10, 50)
assert text_to_word_sequence("Not good.") == ["not", "good"]
assert all(1 <= n < 20 for n in one_hot("well done", 20))

model = Sequential()
model.add(Embedding(len(tokenizer.word_index) + 1, 8, input_length=4))
model.add(Flatten())
model.add(Dense(1, activation="sigmoid"))
model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["acc"])
history = model.fit(padded, labels, epochs=60, verbose=0)
assert history.history["acc"][-1] > 0.8
assert len(TimeseriesGenerator(np.arange(20), np.arange(20), length=5, batch_size=4)) == 4
print("done")
