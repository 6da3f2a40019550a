"""The method of RCA, as pure tensor functions: torch and nothing else, one file per section.

One alphabet for every shape in this package:

    B images    C classes (without the background)    D channels    H W space
    M memory slots per class    K prototypes per class    R regions    N points

A region is one class in one image. Q counts all C·K prototypes in a row, class after class.

    cams           class maps: ReLU and scale to [0, 1]; image scores by average pooling
    regions        Eqs. 1-2    pseudo-regions of the coarse CAM, masked average pooling
    memory         Eq. 3       the memory of region embeddings, and which regions may enter it
    mixup          Eq. 5       region mixup: a region blended with one of another class
    contrast       Eqs. 4, 6   RSC: InfoNCE of mixed regions against the memory
    prototypes                 K-means of each class's memory
    aggregation    Eqs. 7-9    RSA: pixels attend to prototypes
    accumulation               OAA: online accumulation of attention, and its drop layer
    placement                  maps carried from a view to its image and back, for OAA
    objective                  the total loss, and what is memorised after it
    numerics                   float32 inside, even under autocast; unit length

Random draws take a `torch.Generator` and are made on its device, so they are the same whatever the
device of the data. `docs/explanation/method.md` lists every equation with its function, its test
and what the released code does instead.
"""
