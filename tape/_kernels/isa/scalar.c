/* Whatever every machine of the architecture has: vectors of 16 bytes that the compiler makes. */

#include <stdlib.h>

#define ISA scalar
#define VECTORS 2 /* of a tile's width: 12 sums and 2 of b fit 16 registers */
#define ROWS 6
#define TALL 12 /* rows of a tile of one vector's width */
#define BITS "bits_scalar.h"
#define CODES "int8_sixteen.h"

#include "sixteen.h"
#include "table.h"
