/* Runs a compiled step once for each of several batches, through the C interface of torch's ahead-of-time compiler.
   Handles are pointers to tensors; a step takes (and frees) every handle it is given. */

#include <stdint.h>
#include <stdlib.h>

extern "C" {

int32_t aoti_torch_new_tensor_handle(void* handle, void** copy);
int32_t aoti_torch_delete_tensor_object(void* handle);

typedef int32_t (*step_function)(void* container, void** inputs, size_t input_count, void** outputs,
                                 size_t output_count, void* stream, void* proxy);

void lamina_free(void** handles, int64_t count) {
    for (int64_t i = 0; i < count; i++) aoti_torch_delete_tensor_object(handles[i]);
}

/* 0 if all steps ran, else the number of the one that failed, counted from 1. */
int64_t lamina_steps(step_function step, void* container, void** before, int64_t before_count, void** leaves,
                     int64_t step_count, int64_t leaf_count, void** after, int64_t after_count) {
    int64_t count = before_count + leaf_count + after_count;
    void** inputs = (void**)malloc(sizeof(void*) * (count ? count : 1));
    for (int64_t s = 0; s < step_count; s++) {
        for (int64_t i = 0; i < before_count; i++) aoti_torch_new_tensor_handle(before[i], &inputs[i]);
        for (int64_t i = 0; i < leaf_count; i++) inputs[before_count + i] = leaves[s * leaf_count + i];
        for (int64_t i = 0; i < after_count; i++)
            aoti_torch_new_tensor_handle(after[i], &inputs[before_count + leaf_count + i]);
        if (step(container, inputs, count, NULL, 0, NULL, NULL)) {
            lamina_free(leaves + (s + 1) * leaf_count, (step_count - s - 1) * leaf_count);
            free(inputs);
            return s + 1;
        }
    }
    free(inputs);
    return 0;
}

}
