"""What a service has when it has started, and keeps to its end."""

import gc

# Objects more than were freed until the collector looks at the young ones; CPython's own number,
# 700, is made by two requests.
YOUNG_OBJECTS = 20_000


def settle() -> None:
    """Keep the collector from looking again and again at what is there now, and stays.

    Modules, classes and descriptors: some 200,000 objects, which take it 50 ms each time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
