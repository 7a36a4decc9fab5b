import { blendFrames, blurImage, mapFrames, sharpenImage } from '../media/filters.ts'
import { type ImageBatch, type MaskBatch, solidImage } from '../media/image-batch.ts'
import { composite, cropFrame, flipped, padded, rotated, stitched } from '../media/layout.ts'
import { type ResampleMethod, resizeImage } from '../media/resample.ts'
import { imageInput, numberInput, textInput } from './inputs.ts'
import type { NodeInputs, NodeLibrary, NodeOutcome } from './node-class.ts'
import { isType } from './values.ts'

/** Picture nodes that need no model: they compute real pixels. */
export const imageNodes: NodeLibrary = {
  EmptyImage: {
    execute: inputs => {
      const [width, height] = [numberInput(inputs, 'width', 512), numberInput(inputs, 'height', 512)]
      return one(solidImage(width, height, numberInput(inputs, 'batch_size', 1), numberInput(inputs, 'color')))
    }
  },
  ImageInvert: {
    execute: inputs => one(mapFrames(imageInput(inputs, 'image'), frame => frame.map(value => 255 - value)))
  },
  ImageScale: {
    execute: async inputs => {
      const image = imageInput(inputs, 'image')
      const size = wantedSize(image, numberInput(inputs, 'width'), numberInput(inputs, 'height'))
      const source = textInput(inputs, 'crop') === 'center' ? centered(image, size.width / size.height) : image
      return one(await resizeImage(source, size.width, size.height, method(inputs)))
    }
  },
  ImageScaleBy: {
    execute: async inputs => {
      const image = imageInput(inputs, 'image')
      const factor = numberInput(inputs, 'scale_by', 1)
      const side = (length: number) => Math.max(1, Math.round(length * factor))
      return one(await resizeImage(image, side(image.width), side(image.height), method(inputs)))
    }
  },
  ImageScaleToTotalPixels: {
    execute: async inputs => {
      const image = imageInput(inputs, 'image')
      const factor = Math.sqrt((numberInput(inputs, 'megapixels', 1) * 1_048_576) / (image.width * image.height))
      const side = (length: number) => Math.max(1, Math.round(length * factor))
      return one(await resizeImage(image, side(image.width), side(image.height), method(inputs)))
    }
  },
  ImageBlur: {
    execute: async inputs =>
      one(
        await blurImage(
          imageInput(inputs, 'image'),
          numberInput(inputs, 'blur_radius', 1),
          numberInput(inputs, 'sigma', 1)
        )
      )
  },
  ImageSharpen: {
    execute: async inputs => {
      const [radius, sigma] = [numberInput(inputs, 'sharpen_radius', 1), numberInput(inputs, 'sigma', 1)]
      return one(await sharpenImage(imageInput(inputs, 'image'), radius, sigma, numberInput(inputs, 'alpha', 1)))
    }
  },
  ImageBlend: {
    execute: async inputs => {
      const base = imageInput(inputs, 'image1')
      const top = await matched(imageInput(inputs, 'image2'), base)
      const frames = base.frames.map((frame, index) => {
        const other = top.frames[Math.min(index, top.frames.length - 1)] as Uint8Array
        return blendFrames(frame, other, numberInput(inputs, 'blend_factor', 0.5), textInput(inputs, 'blend_mode'))
      })
      return one({ ...base, frames })
    }
  },
  ImageBatch: {
    execute: async inputs => {
      const first = imageInput(inputs, 'image1')
      const second = await matched(imageInput(inputs, 'image2'), first)
      return one({ ...first, frames: [...first.frames, ...second.frames] })
    }
  },
  RepeatImageBatch: {
    execute: inputs => {
      const image = imageInput(inputs, 'image')
      const copies = Array.from({ length: numberInput(inputs, 'amount', 1) }, () => image.frames)
      return one({ ...image, frames: copies.flat() })
    }
  },
  RebatchImages: { takesLists: true, execute: rebatch },
  ImageFromBatch: {
    execute: inputs => {
      const image = imageInput(inputs, 'image')
      const start = Math.min(image.frames.length - 1, numberInput(inputs, 'batch_index'))
      return one({ ...image, frames: image.frames.slice(start, start + numberInput(inputs, 'length', 1)) })
    }
  },
  ImageCrop: {
    execute: inputs => {
      const image = imageInput(inputs, 'image')
      const x = Math.min(numberInput(inputs, 'x'), image.width - 1)
      const y = Math.min(numberInput(inputs, 'y'), image.height - 1)
      const width = Math.min(numberInput(inputs, 'width', 512), image.width - x)
      const height = Math.min(numberInput(inputs, 'height', 512), image.height - y)
      return one(cropped(image, x, y, width, height))
    }
  },
  ImageFlip: {
    execute: inputs => one(flipped(imageInput(inputs, 'image'), textInput(inputs, 'flip_method').startsWith('x')))
  },
  ImageRotate: {
    execute: inputs =>
      one(rotated(imageInput(inputs, 'image'), Number.parseInt(textInput(inputs, 'rotation'), 10) || 0))
  },
  ImageStitch: { execute: stitch },
  ImagePadForOutpaint: { execute: padForOutpaint },
  ImageCompositeMasked: { execute: compositeMasked },
  GetImageSize: {
    execute: (inputs, call) => {
      const { width, height, frames } = imageInput(inputs, 'image')
      call.text(`width: ${width}, height: ${height}\n batch size: ${frames.length}`)
      return { outputs: [width, height, frames.length] }
    }
  }
}

function one(image: ImageBatch): NodeOutcome {
  return { outputs: [image] }
}

function method(inputs: NodeInputs): ResampleMethod {
  return textInput(inputs, 'upscale_method', 'bilinear') as ResampleMethod
}

function wantedSize(image: ImageBatch, width: number, height: number): { width: number; height: number } {
  if (width === 0 && height === 0) return image
  if (width === 0) return { width: Math.max(1, Math.round((image.width * height) / image.height)), height }
  if (height === 0) return { width, height: Math.max(1, Math.round((image.height * width) / image.width)) }
  return { width, height }
}

function centered(image: ImageBatch, aspect: number): ImageBatch {
  const width = Math.min(image.width, Math.round(image.height * aspect))
  const height = Math.min(image.height, Math.round(image.width / aspect))
  return cropped(image, (image.width - width) >> 1, (image.height - height) >> 1, width, height)
}

function cropped(image: ImageBatch, x: number, y: number, width: number, height: number): ImageBatch {
  const frames = image.frames.map(frame => cropFrame(frame, image, { x, y, width, height }))
  return { ...image, width, height, frames }
}

/** The picture in the size of another one. */
async function matched(image: ImageBatch, model: ImageBatch): Promise<ImageBatch> {
  if (image.width === model.width && image.height === model.height) return image
  return resizeImage(image, model.width, model.height, 'bilinear')
}

function rebatch(inputs: NodeInputs): NodeOutcome {
  const images = (inputs.images as unknown[]).filter(value => isType(value, 'IMAGE')) as ImageBatch[]
  const size = Math.max(1, Number((inputs.batch_size as unknown[])[0]))
  const singles = images.flatMap(image => image.frames.map(frame => ({ ...image, frames: [frame] })))
  const batches: ImageBatch[] = []
  for (let start = 0; start < singles.length; start += size) {
    const group = singles.slice(start, start + size)
    batches.push({ ...(group[0] as ImageBatch), frames: group.flatMap(({ frames }) => frames) })
  }
  return { outputs: [batches] }
}

async function stitch(inputs: NodeInputs): Promise<NodeOutcome> {
  const first = imageInput(inputs, 'image1')
  if (!isType(inputs.image2, 'IMAGE')) return one(first)
  const second = imageInput(inputs, 'image2')
  const direction = textInput(inputs, 'direction', 'right')
  const isAcross = direction === 'right' || direction === 'left'
  const scale = isAcross ? first.height / second.height : first.width / second.width
  const width = isAcross ? Math.max(1, Math.round(second.width * scale)) : first.width
  const height = isAcross ? first.height : Math.max(1, Math.round(second.height * scale))
  const other = await resizeImage(second, width, height, 'bilinear')
  const isFirstLeading = direction === 'right' || direction === 'down'
  return one(isFirstLeading ? stitched(first, other, isAcross) : stitched(other, first, isAcross))
}

function padForOutpaint(inputs: NodeInputs): NodeOutcome {
  const margins = {
    left: numberInput(inputs, 'left'),
    top: numberInput(inputs, 'top'),
    right: numberInput(inputs, 'right'),
    bottom: numberInput(inputs, 'bottom')
  }
  const { image, mask } = padded(imageInput(inputs, 'image'), margins)
  return { outputs: [image, mask] }
}

async function compositeMasked(inputs: NodeInputs): Promise<NodeOutcome> {
  const destination = imageInput(inputs, 'destination')
  const given = imageInput(inputs, 'source')
  const source = inputs.resize_source === true ? await matched(given, destination) : given
  const mask = isType(inputs.mask, 'MASK') ? (inputs.mask as MaskBatch) : undefined
  return one(composite(destination, source, mask, numberInput(inputs, 'x'), numberInput(inputs, 'y')))
}
