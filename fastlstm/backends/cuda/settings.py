"""What a launch is told in integers: the places of a tuple, `call`, that every device function is handed."""

from __future__ import annotations

# UNIT_GROUPS     blocks that share the units of a row group; block = row group * UNIT_GROUPS + member
# ROWS            most batch rows of a row group: the strides of arena and words
# ROW_SIZE        elements of an arena row
# LAST            where the program ends
# WORDS           results of a batch row that are exchanged in a step, and one for the id that it draws
# SOURCE, INPUTS  where x goes in an arena row and its size; NONE where the model takes ids
# TARGET, OUTPUTS where a step's output lies and its size
# PENDING         where a single block keeps results until all are computed
# STEPS           of the prime, or the known sequence
# OUTPUT_STEPS    how many outputs
# FREE            1: outputs are fed back after the prime, and shorter primes begin later
# MEETING         how blocks exchange results, one of the two below
# DRAWS           0: outputs are vectors; 1: the largest; 2: drawn by temperature
# TOP_K, PROBABILITIES, SEED_LOW, SEED_HIGH, POSITION  see `base.Drawing`; the seed's lower and upper 32 bits
# BATCH           rows of the launch; FIRST_ROW of the call is its first
# PACKED          weights in an element: 2 of bfloat16
(
    UNIT_GROUPS, ROWS, ROW_SIZE, LAST, WORDS, SOURCE, INPUTS, TARGET, OUTPUTS, PENDING,
    STEPS, OUTPUT_STEPS, FREE, MEETING, DRAWS, TOP_K, PROBABILITIES, SEED_LOW, SEED_HIGH, POSITION,
    BATCH, FIRST_ROW, PACKED,
    COUNT,
) = range(24)  # fmt: skip

# Each result travels with its step's number and readers wait for that; or all wait until all have counted themselves.
STAMPS, BARRIER = 0, 1

# In `counters`, of each row group: the last step's stamp, how often the blocks have met, and their arrivals.
COUNTERS = 3

# Batch rows that a warp computes at a time, where there is more than one, by bits to shift: 4, and from 9 rows on 16;
# of float64 8, as registers do not suffice for more.
FEW, MANY = 2, 4

# Of a block. With more each would have fewer registers than eight rows by four columns take, and eight warps have
# enough loads on their way: tried with ptxas, 512 threads spilled 264 bytes each.
MOST_THREADS = 256
