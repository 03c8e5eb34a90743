"""One thread for torch: threads that wait for one another are slow where other programs run."""

import torch

torch.set_num_threads(1)
