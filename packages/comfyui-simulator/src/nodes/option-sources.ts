/** Where the options of a file input come from: a model folder or a media folder, and options beside the files. */
export interface OptionSource {
  folder: string
  extra?: string[]
  /** Only files whose name ends like this are offered; all when absent. */
  offers?: RegExp
}

const images = /\.(png|jpe?g|webp|gif|bmp|tiff?|avif|svg|ico)$/i
const sounds = /\.(flac|mp3|wav|ogg|oga|opus|m4a|aac)$/i
const films = /\.(mp4|m4v|webm|mov|mkv|avi|mpe?g)$/i
const either = (...patterns: RegExp[]): RegExp => new RegExp(patterns.map(({ source }) => source).join('|'), 'i')

const byInput: Record<string, OptionSource> = {
  ckpt_name: { folder: 'checkpoints' },
  unet_name: { folder: 'diffusion_models' },
  vae_name: { folder: 'vae', extra: ['pixel_space'] },
  lora_name: { folder: 'loras' },
  control_net_name: { folder: 'controlnet' },
  style_model_name: { folder: 'style_models' },
  gligen_name: { folder: 'gligen' },
  clip_name1: { folder: 'text_encoders' },
  clip_name2: { folder: 'text_encoders' },
  clip_name3: { folder: 'text_encoders' }
}

const byClass: Record<string, Record<string, OptionSource>> = {
  CLIPLoader: { clip_name: { folder: 'text_encoders' } },
  CLIPVisionLoader: { clip_name: { folder: 'clip_vision' } },
  UpscaleModelLoader: { model_name: { folder: 'upscale_models' } },
  LoadImage: { image: { folder: 'input', offers: images } },
  LoadImageMask: { image: { folder: 'input' } },
  LoadImageOutput: { image: { folder: 'output' } },
  LoadAudio: { audio: { folder: 'input', offers: either(sounds, films) } },
  LoadVideo: { file: { folder: 'input', offers: films } }
}

/** The files an input of a class chooses from, or undefined when its options are fixed. */
export function fileOptions(className: string, inputName: string): OptionSource | undefined {
  return byClass[className]?.[inputName] ?? byInput[inputName]
}
