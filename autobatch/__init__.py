"""autobatch: which batch size and learning rate to train a Keras model with on this machine.

import autobatch

result = autobatch.recommend("recipe.yaml")
model.fit(x, y, batch_size=result.batch_size)
"""
