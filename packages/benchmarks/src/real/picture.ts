/** A workflow as every caller takes it. */
export type Workflow = Record<string, { class_type: string; inputs: Record<string, unknown> }>

/** Steps that take an ordinary simulated GPU about 200 ms. */
const ordinarySteps = 10

let seed = 0

/**
 * A workflow of one large model and one small picture, so that what it costs is GPU time and not this machine's. Each is new to ComfyUI, so
 * that nothing is cached.
 */
export const aPicture = (steps = ordinarySteps): Workflow => ({
  '1': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: 'flux1-dev-fp8.safetensors' } },
  '2': { class_type: 'CLIPTextEncode', inputs: { text: 'a mountain lake', clip: ['1', 1] } },
  '3': { class_type: 'EmptyLatentImage', inputs: { width: 64, height: 64, batch_size: 1 } },
  '4': {
    class_type: 'KSampler',
    inputs: {
      ...{ seed: ++seed, steps, cfg: 1, sampler_name: 'euler', scheduler: 'normal', denoise: 1 },
      ...{ model: ['1', 0], positive: ['2', 0], negative: ['2', 0], latent_image: ['3', 0] }
    }
  },
  '5': { class_type: 'VAEDecode', inputs: { samples: ['4', 0], vae: ['1', 2] } },
  [pictureNode]: { class_type: 'SaveImage', inputs: { images: ['5', 0], filename_prefix: 'real' } }
})

/** The graph node that saves the picture. */
export const pictureNode = '6'
