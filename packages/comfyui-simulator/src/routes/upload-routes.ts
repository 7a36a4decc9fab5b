import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, normalize, parse, resolve, sep } from 'node:path'
import { type Folders, isFolderType } from '../files/folders.ts'
import { type Part, parseMultipart } from '../http/multipart.ts'
import { empty, json, type Reply } from '../http/reply.ts'
import type { Request } from '../http/request.ts'
import type { Route } from '../http/router.ts'
import { isObject, parsePythonJson } from '../json/python-json.ts'
import { PythonError } from '../json/python-numbers.ts'
import { decodePng } from '../media/png-decoder.ts'
import { encodePng } from '../media/png-encoder.ts'
import type { ServerContext } from '../server/server-context.ts'

type Writer = (path: string, image: Part) => void | Promise<void>

/** Writing pictures into the input, temp and output folders. */
export function uploadRoutes({ machine }: ServerContext): Route[] {
  return [
    ['POST', '/upload/image', async request => upload(await partsOf(request), machine().folders, writePlain)],
    [
      'POST',
      '/upload/mask',
      async request => {
        const parts = await partsOf(request)
        return upload(parts, machine().folders, (path, image) => writeMasked(path, image, parts, machine().folders))
      }
    ]
  ]
}

async function partsOf(request: Request): Promise<Part[]> {
  return parseMultipart(request.headers['content-type'], await request.body())
}

async function upload(parts: Part[], folders: Folders, write: Writer): Promise<Reply> {
  const field = (name: string) => parts.find(part => part.name === name)?.data.toString('utf8')
  const type = field('type') ?? 'input'
  if (!isFolderType(type)) throw new PythonError('TypeError', 'cannot unpack non-iterable NoneType object')
  const image = parts.find(part => part.name === 'image')
  if (!image) return empty(400)
  if (image.filename === undefined) throw new PythonError('AttributeError', "'str' object has no attribute 'file'")
  if (image.filename === '') return empty(400)
  const subfolder = field('subfolder') ?? ''
  const directory = resolve(folders.of(type), normalize(subfolder).replace(/^[/\\]+/, ''))
  const path = resolve(directory, image.filename)
  if (!path.startsWith(folders.of(type) + sep) || dirOf(directory, folders.of(type))) return empty(400)
  mkdirSync(directory, { recursive: true })
  const place = choosePlace(directory, image, isOverwriting(field('overwrite')))
  if (!place.isThere) await write(join(directory, place.name), image)
  return json({ name: place.name, subfolder, type })
}

function dirOf(directory: string, root: string): boolean {
  return directory !== root && !directory.startsWith(root + sep)
}

function isOverwriting(value: string | undefined): boolean {
  return value === 'true' || value === '1'
}

function choosePlace(directory: string, image: Part, isOverwrite: boolean): { name: string; isThere: boolean } {
  const given = image.filename as string
  if (isOverwrite) return { name: given, isThere: false }
  const { name: stem, ext, dir } = parse(given)
  let name = given
  for (let copy = 1; existsSync(join(directory, name)); copy++) {
    if (isSameFile(join(directory, name), image.data)) return { name, isThere: true }
    name = join(dir, `${stem} (${copy})${ext}`)
  }
  return { name, isThere: false }
}

function isSameFile(path: string, data: Buffer): boolean {
  if (statSync(path).size !== data.length) return false
  const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
  return digest(readFileSync(path)) === digest(data)
}

function writePlain(path: string, image: Part): void {
  if (!existsSync(dirname(path))) throw new PythonError('FileNotFoundError', 'No such file or directory')
  writeFileSync(path, image.data)
}

async function writeMasked(path: string, image: Part, parts: Part[], folders: Folders): Promise<void> {
  const text = parts.find(part => part.name === 'original_ref')?.data.toString('utf8')
  if (text === undefined) throw new PythonError('TypeError', 'the JSON object must be str, bytes or bytearray')
  const reference = parsePythonJson(text)
  const name = isObject(reference) ? String(reference.filename ?? '') : ''
  const type = isObject(reference) ? String(reference.type ?? 'output') : 'output'
  if (name === '' || !isFolderType(type)) throw new PythonError('KeyError', "'filename'")
  const subfolder = isObject(reference) ? String(reference.subfolder ?? '') : ''
  const original = folders.inside(type, subfolder, name)
  if (!original || !existsSync(original)) return
  const base = decodePng(readFileSync(original))
  const mask = decodePng(image.data)
  if (!base || !mask || base.width !== mask.width || base.height !== mask.height) return writePlain(path, image)
  for (let at = 3; at < base.rgba.length; at += 4) base.rgba[at] = mask.rgba[at]!
  writeFileSync(path, await encodePng({ width: base.width, height: base.height, channels: 4, pixels: base.rgba }))
}
