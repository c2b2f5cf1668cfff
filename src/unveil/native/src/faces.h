/* Faces: landmarks, crops, and tensors of crops. */
#ifndef UNVEIL_FACES_H
#define UNVEIL_FACES_H

#include "unveil.h"

/* RGB, three bytes a pixel; rows lie `stride` bytes apart. */
typedef struct {
    const uint8_t *pixels;
    int64_t height, width, stride;
} image;

typedef struct landmark_model landmark_model;

/* Changes with the arguments of the functions below. */
#define UNVEIL_FACES_VERSION 2
UNVEIL_PUBLIC int32_t unveil_faces_version(void);

enum { CUT = 0, UNUSUAL = 1 }; /* of a face chip: written, or left to dlib */

/* The model in a file of dlib's shape_predictor, and its number of landmarks; NULL for any other file. */
UNVEIL_PUBLIC landmark_model *unveil_read_landmark_model(const uint8_t *file, int64_t n, int32_t *parts);
UNVEIL_PUBLIC void unveil_free_landmark_model(landmark_model *model);

/* Landmarks (n, parts, 2), whole numbers, of one face in each of n images, in a box (left, top, right, bottom) each. `plain`
 * avoids vector code. */
UNVEIL_PUBLIC void unveil_landmarks(const landmark_model *model, int64_t n, const image *of, const int32_t (*boxes)[4],
                                    int32_t plain, double *points);

/* dlib's get_face_chip with a padding of .25: a crop (size, size, 3) by five landmarks. */
UNVEIL_PUBLIC int32_t unveil_face_chip(const image *of, const double *points, int32_t size, int32_t plain, uint8_t *out);

/* Crops (n, pixels, 3) as planes (n, 3, pixels): (value - mean) * scale, in the order RGB or reversed. */
UNVEIL_PUBLIC void unveil_planes(const uint8_t *crops, int64_t n, int64_t pixels, int32_t reversed, const float *mean,
                                 const float *scale, float *out);

#endif
