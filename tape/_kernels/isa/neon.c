/* aarch64: vectors of 16 bytes, 32 registers. */

#define ISA neon
#define VECTORS 4
#define ROWS 6
#define TALL 16 /* rows of a tile of one vector's width */
#define BITS "bits_neon.h"
#define CODES "int8_sixteen.h"

#include "sixteen.h"
#include "table.h"
