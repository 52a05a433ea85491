# %% [markdown]
# A notebook in a file: its cells define a model and data, and tune them where they stand. In a
# notebook `result` alone shows a table.

# %%
import keras
from sklearn.datasets import load_wine

import autobatch

WIDTH = 32


# %%
def build_model():
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((13,)), layers.BatchNormalization(), layers.Dense(WIDTH, "relu")]
    )
    model.add(layers.Dense(3, "softmax"))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def load_data():
    x, y = load_wine(return_X_y=True)
    x = x.astype("float32")
    return (x[::2], y[::2]), (x[1::2], y[1::2])


# %%
result = autobatch.recommend(
    build_model,
    data=load_data,
    overrides=[
        "baseline.batch_size=32",  # what you train with today
        "batch_sizes.min=16",
        "benchmark.seconds=0.5",
        "trials.budget=1min",
    ],
)
print(f"batch {result.batch_size}, learning rate {result.learning_rate:.4g}: {result.verdict}")
print(result.snippet)  # all that changes, the momentum of BatchNormalization too

# %%
model = build_model()
model.optimizer.learning_rate = result.learning_rate
for name, value in result.hyperparameters.items():  # of Adam: beta_2, ...
    setattr(model.optimizer, name, value)
(x, y), validation = load_data()
model.fit(x, y, batch_size=result.batch_size, epochs=3, validation_data=validation, verbose=0)
