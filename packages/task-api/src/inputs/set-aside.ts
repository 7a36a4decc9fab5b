import { createHash } from 'node:crypto'
import type { GenerateRequest } from '@comfy-balancer/contract/generate'
import type { InputSource } from '@comfy-balancer/contract/input'
import { inputHeadBytes, inspectInput } from '@comfy-balancer/domain/input-file'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import type { ExactText } from '../deps.ts'
import { objectText } from '../object-text.ts'
import { type Bringing, inputPointer } from './brought-names.ts'
import type { InputLimits } from './input-library.ts'

/** A file that came as base64. */
export type AsideFile = { readonly name: string; readonly bytes: Buffer; readonly pointer: string }

/** A request without the bytes of its files: each is named by its content, as if it had been uploaded before. */
export type SetAside = {
  readonly body: GenerateRequest
  readonly text: string
  /** By the id that stands in their place. */
  readonly files: ReadonlyMap<string, AsideFile>
}

/**
 * Takes the files out of a request that came in it as base64, so that they are neither copied for every task nor kept in the ledger. Throws a
 * Refusal for what is not base64, too large or flawed.
 */
export const setAside = (exactText: ExactText, body: GenerateRequest, text: string, limits: InputLimits): SetAside => {
  if (![body, ...(body.requests ?? [])].some(hasBase64)) return { body, text, files: new Map() }
  const files = new Map<string, AsideFile>()
  const taken = <T extends Bringing>(shot: T, at: string): T => {
    if (!hasBase64(shot)) return shot
    const sources = Object.entries(shot.inputs ?? {}).map(([name, source]) => {
      if (source.base64 === undefined) return [name, source] as const
      const pointer = `${at}${inputPointer(name)}/base64`
      const file = { name, pointer, bytes: decoded(source.base64, pointer, limits.maxBytes) }
      refuseFlawed(file, limits.maxPixels)
      const upload = `input_${createHash('sha256').update(file.bytes).digest('hex')}`
      files.set(upload, file)
      return [name, { upload }] as const
    })
    return { ...shot, inputs: Object.fromEntries(sources) }
  }
  const requests = body.requests?.map((shot, at) => taken(shot, `/requests/${at}`))
  const light = { ...taken(body, ''), ...(requests && { requests }) }
  return { body: light, text: textWithout(exactText, light, text), files }
}

const hasBase64 = ({ inputs = {} }: Bringing): boolean =>
  Object.values(inputs).some(({ base64 }: InputSource) => base64 !== undefined)

/** The text of a request with its present inputs, and everything else to the letter. */
const textWithout = ({ membersOf }: ExactText, { inputs, requests }: GenerateRequest, text: string): string => {
  const members = Object.fromEntries(membersOf(text))
  const lists = requests && [...membersOf(members.requests ?? '[]').values()]
  const shots = lists?.map((shot, at) => withInputs(Object.fromEntries(membersOf(shot)), requests?.[at]?.inputs))
  return withInputs({ ...members, ...(shots && { requests: `[${shots.join(',')}]` }) }, inputs)
}

const withInputs = (members: Readonly<Record<string, string>>, inputs: Bringing['inputs']): string =>
  objectText({ ...members, ...(inputs && { inputs: JSON.stringify(inputs) }) })

/** Strict: what decodes to these bytes and is written in no other way. */
const decoded = (base64: string, pointer: string, maxBytes: number): Buffer => {
  const bytes = Buffer.from(base64, 'base64')
  if (bytes.toString('base64') !== base64) {
    const detail = 'the text is not base64 (RFC 4648, padded, without a data: prefix)'
    throw new Refusal('validation-failed', `${pointer}: ${detail}`, { errors: [{ pointer, code: 'base64', detail }] })
  }
  if (bytes.length <= maxBytes) return bytes
  const detail = `the file is larger than ${maxBytes} bytes`
  throw new Refusal('payload-too-large', detail, { errors: [{ pointer, code: 'too-large', detail }] })
}

const refuseFlawed = ({ name, bytes, pointer }: AsideFile, maxPixels: number): void => {
  const { flaw } = inspectInput(name, bytes.subarray(0, inputHeadBytes), maxPixels)
  if (flaw === undefined) return
  const errors = [{ pointer, code: 'input-invalid', detail: flaw }]
  throw new Refusal('input-invalid', `${pointer}: ${flaw}`, { errors })
}
