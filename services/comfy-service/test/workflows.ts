type GraphNodes = Record<string, { class_type: string; inputs: Record<string, unknown> }>

const empty = (color: number, side = 64) => ({
  class_type: 'EmptyImage',
  inputs: { width: side, height: 48, batch_size: 1, color }
})

/** A picture that takes so many seconds. Colours are the callers' own, so that no run is cached by accident. */
export const picture = (color: number, seconds = 0): GraphNodes => ({
  '1': empty(color),
  '2': { class_type: 'TestSleep', inputs: { value: ['1', 0], seconds } },
  '9': { class_type: 'SaveImage', inputs: { images: ['2', 0], filename_prefix: 'out/picture' } }
})

/** Two pictures, of which the first is there at once. */
export const twoPictures = (color: number, seconds: number): GraphNodes => ({
  ...picture(color, seconds),
  '3': empty(color + 1, 32),
  '8': { class_type: 'SaveImage', inputs: { images: ['3', 0], filename_prefix: 'first' } }
})

/** A picture from a model. The seed is text, for it may have more digits than a number holds. */
export const painting = (model: string, seed: string): string =>
  JSON.stringify({
    '4': { class_type: 'CheckpointLoaderSimple', inputs: { ckpt_name: model } },
    '5': { class_type: 'EmptyLatentImage', inputs: { width: 64, height: 64, batch_size: 1 } },
    '6': { class_type: 'CLIPTextEncode', inputs: { text: 'a lake', clip: ['4', 1] } },
    '3': {
      class_type: 'KSampler',
      inputs: {
        seed: '<seed>',
        steps: 2,
        cfg: 8,
        sampler_name: 'euler',
        scheduler: 'normal',
        denoise: 1,
        model: ['4', 0],
        positive: ['6', 0],
        negative: ['6', 0],
        latent_image: ['5', 0]
      }
    },
    '8': { class_type: 'VAEDecode', inputs: { samples: ['3', 0], vae: ['4', 2] } },
    '9': { class_type: 'SaveImage', inputs: { images: ['8', 0], filename_prefix: 'lake' } }
  }).replace('"<seed>"', seed)
