import type { Catalog } from '@comfy-balancer/contract/catalog'
import type { StoredOutput } from '@comfy-balancer/task-store/manifest'

/** What a node offers that can make the picture. */
export const pictureCatalog: Catalog = {
  classes: {
    EmptyImage: { output: false, required: ['width', 'height'], choices: {}, uploads: [] },
    SaveImage: { output: true, required: ['images'], choices: {}, uploads: [] }
  },
  lists: [],
  modelBytes: {}
}

/** A workflow that makes one plain picture, as text. */
export const aPicture = (color = '255'): string =>
  `{"1":{"class_type":"EmptyImage","inputs":{"width":64,"height":64,"color":${color}}},"9":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":"x"}}}`

/** A request for the picture, as text. */
export const pictureRequest = `{"prompt":${aPicture()}}`

/** What stands for the bytes of the picture. */
export const pictureBytes = Buffer.from('0123456789')

/** The picture as an attempt reports it. */
export const pictureOutput: StoredOutput = {
  ...{ attempt: 1, index: 0, path: 'p', filename: 'x.png', mediaType: 'image/png' },
  ...{ bytes: pictureBytes.length, sha256: 'abc', graphNode: '9', kind: 'image', durable: true }
}
