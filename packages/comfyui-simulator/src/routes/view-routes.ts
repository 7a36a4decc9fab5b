import { readFileSync } from 'node:fs'
import { basename, resolve, sep } from 'node:path'
import { annotatedName, type Folders, isFolderType } from '../files/folders.ts'
import { fileReply } from '../http/file-reply.ts'
import { mediaTypeOf } from '../http/media-type.ts'
import { empty, type Reply } from '../http/reply.ts'
import type { Request } from '../http/request.ts'
import type { Route } from '../http/router.ts'
import { encodeJpeg } from '../media/jpeg-encoder.ts'
import { type DecodedPicture, decodePng } from '../media/png-decoder.ts'
import { encodePng } from '../media/png-encoder.ts'
import { encodeWebp } from '../media/webp-encoder.ts'
import type { ServerContext } from '../server/server-context.ts'

/** Reading media files, whole, in parts or re-encoded. */
export function viewRoutes({ machine, faults, core }: ServerContext): Route[] {
  return [
    [
      'GET',
      '/view',
      async request => {
        const slow = faults.take('slow-view')
        if (slow) await new Promise(resolve => setTimeout(resolve, slow.ms ?? 1000))
        return core() ? view(request, machine().folders) : empty(500)
      }
    ],
    ['GET', '/view_metadata/{}', () => empty(404)]
  ]
}

async function view(request: Request, folders: Folders): Promise<Reply> {
  const given = request.query.get('filename')
  if (given === null) return empty(404)
  const { name, type: annotated } = annotatedName(given)
  if (name === '' || name.startsWith('/') || name.includes('..')) return empty(400)
  const type = annotated ?? request.query.get('type') ?? 'output'
  if (!isFolderType(type)) return empty(400)
  const root = folders.of(type)
  const directory = resolve(root, request.query.get('subfolder') ?? '')
  if (directory !== root && !directory.startsWith(root + sep)) return empty(403)
  const file = basename(name)
  const headers = {
    'Content-Disposition': `filename="${Buffer.from(file).toString('latin1')}"`,
    'Content-Type': mediaTypeOf(file)
  }
  const plain = fileReply(resolve(directory, file), request, headers)
  if (!plain) return empty(404)
  return (await reencoded(request, resolve(directory, file), headers)) ?? plain
}

async function reencoded(request: Request, path: string, headers: Record<string, string>): Promise<Reply | undefined> {
  const preview = request.query.get('preview')
  const channel = request.query.get('channel') ?? 'rgba'
  if (preview === null && channel !== 'rgb' && channel !== 'a') return undefined
  const picture = decodePng(readFileSync(path))
  if (!picture) return undefined
  if (preview !== null) return previewReply(preview, channel, picture, headers)
  const { width, height } = picture
  const pixels = channel === 'rgb' ? withoutAlpha(picture) : alphaOnly(picture)
  const body = await encodePng({ width, height, channels: channel === 'rgb' ? 3 : 4, pixels })
  return { status: 200, headers: { ...headers, 'Content-Type': 'image/png' }, body }
}

function previewReply(
  preview: string,
  channel: string,
  picture: DecodedPicture,
  headers: Record<string, string>
): Reply {
  const parts = preview.split(';')
  const isJpeg = parts[0] === 'jpeg' && !(channel !== 'rgba' && channel.includes('a'))
  const quality = /^\d+$/.test(parts.at(-1) ?? '') ? Number(parts.at(-1)) : 90
  const { width, height, rgba, hasAlpha } = picture
  const body = isJpeg
    ? encodeJpeg({ width, height, channels: 4, pixels: rgba }, quality)
    : encodeWebp(
        hasAlpha
          ? { width, height, channels: 4, pixels: rgba }
          : { width, height, channels: 3, pixels: withoutAlpha(picture) }
      )
  return { status: 200, headers: { ...headers, 'Content-Type': isJpeg ? 'image/jpeg' : 'image/webp' }, body }
}

function withoutAlpha({ rgba }: DecodedPicture): Uint8Array {
  const rgb = new Uint8Array((rgba.length / 4) * 3)
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    rgb[to] = rgba[from]!
    rgb[to + 1] = rgba[from + 1]!
    rgb[to + 2] = rgba[from + 2]!
  }
  return rgb
}

function alphaOnly({ rgba }: DecodedPicture): Uint8Array {
  const masked = new Uint8Array(rgba.length)
  for (let at = 3; at < rgba.length; at += 4) masked[at] = rgba[at]!
  return masked
}
