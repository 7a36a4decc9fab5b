/** Where the options of a file input come from: a model folder or a media folder, and options beside the files. */
export interface OptionSource {
  folder: string
  extra?: string[]
}

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
  LoadImage: { image: { folder: 'input' } },
  LoadImageMask: { image: { folder: 'input' } },
  LoadImageOutput: { image: { folder: 'output' } },
  LoadAudio: { audio: { folder: 'input' } },
  LoadVideo: { file: { folder: 'input' } }
}

/** The files an input of a class chooses from, or undefined when its options are fixed. */
export function fileOptions(className: string, inputName: string): OptionSource | undefined {
  return byClass[className]?.[inputName] ?? byInput[inputName]
}
