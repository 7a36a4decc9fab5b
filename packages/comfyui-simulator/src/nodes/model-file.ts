/** What the name of a model file ends with. */
export const modelFilePattern = /\.(safetensors|sft|ckpt|pt|pt2|pth|bin|pkl|gguf|onnx|engine)$/i

/** What the name of a picture, film or sound ends with. */
export const mediaFilePattern = /\.(png|jpe?g|webp|gif|bmp|tiff?|mp4|webm|mov|mkv|avi|mp3|wav|flac|ogg|opus|m4a)$/i
