import { broughtNameFault } from './brought-names.ts'

/** Where the bytes of a LoRA are. `path` is below the store's folder of LoRAs. */
export type LoraSource =
  | { readonly kind: 'upload'; readonly id: string }
  | { readonly kind: 'store'; readonly path: string }
  | { readonly kind: 's3'; readonly bucket: string; readonly key: string }

/** The label of nodes into whose models folder we may put files. */
export const loraLabel = { 'comfy-balancer/loras': 'on-demand' } as const

const segment = /^[^./\\:?#%\p{C}][^/\\:?#%\p{C}]*$/u
const isPlainPath = (path: string): boolean =>
  path.length <= 1_024 && path.split('/').every(part => segment.test(part) && !part.includes('..'))

/** What a source must be, in words. */
export const loraSourceRule = 'must be s3://bucket/key, store:path or the id of an upload'

/** Reads what a caller wrote as a source; undefined when it is none, or would lead out of where LoRAs are. */
export const readLoraSource = (text: string): LoraSource | undefined => {
  if (/^input_[0-9a-f]{64}$/.test(text)) return { kind: 'upload', id: text }
  const path = /^store:(.*)$/.exec(text)?.[1]
  if (path !== undefined) return isPlainPath(path) ? { kind: 'store', path } : undefined
  const [, bucket = '', key = ''] = /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\/(.*)$/.exec(text) ?? []
  return bucket !== '' && isPlainPath(key) ? { kind: 's3', bucket, key } : undefined
}

/** Whether this tenant may have an object read for it: it lies below a prefix such as `s3://models/{tenant}/`. */
export const isAllowedOrigin = (source: LoraSource, tenant: string, prefixes: readonly string[]): boolean => {
  if (source.kind !== 's3') return true
  const address = `s3://${source.bucket}/${source.key}`
  return prefixes.some(prefix => address.startsWith(prefix.replaceAll('{tenant}', tenant)))
}

/** Why a name cannot stand for a LoRA that comes along; undefined when it can. Other forms of model files can hold programs. */
export const loraNameFault = (name: string): string | undefined =>
  broughtNameFault(name) ?? (name.endsWith('.safetensors') ? undefined : 'must end in .safetensors')

/** Bytes at the beginning of a file that show whether it is one of safetensors. */
export const safetensorsHeadBytes = 9
const maxHeaderBytes = 100_000_000

/** Whether a file of so many bytes that begins like this can be one of safetensors: the length of a JSON header, then the header. */
export const isSafetensors = (head: Uint8Array, bytes: number): boolean => {
  if (head.length < safetensorsHeadBytes) return false
  const header = Number(new DataView(head.buffer, head.byteOffset, head.byteLength).getBigUint64(0, true))
  return head[8] === 0x7b && header >= 2 && header <= maxHeaderBytes && header + 8 <= bytes
}
