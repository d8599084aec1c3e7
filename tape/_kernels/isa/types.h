/* Include BODY for each type of real numbers: REAL is the type, FN a name for it. */
#define REAL float
#define FN(name) PASTE(name, float)
#include BODY
#undef REAL
#undef FN

#define REAL double
#define FN(name) PASTE(name, double)
#include BODY
#undef REAL
#undef FN
