import { freemem, totalmem } from 'node:os'
import { join } from 'node:path'
import { empty, json, type Reply, text } from '../http/reply.ts'
import type { Route } from '../http/router.ts'
import { PythonFloat } from '../json/python-float.ts'
import type { ServerContext } from '../server/server-context.ts'

const pythonVersion = '3.11.7 (main, Dec  8 2023, 18:56:58) [GCC 12.2.0]'

/** What the server is and what it has. */
export function infoRoutes(context: ServerContext): Route[] {
  const { classes, features } = context
  return [
    ['GET', '/system_stats', () => json(systemStats(context))],
    ['GET', '/features', () => json(features())],
    ['GET', '/object_info', () => json(new Map(classes.names().map(name => [name, classes.describe(name)])))],
    [
      'GET',
      '/object_info/{}',
      request => {
        const name = request.params[0] as string
        const info = classes.describe(name)
        return json(info ? { [name]: info } : {})
      }
    ],
    ['GET', '/extensions', () => json([])],
    ['GET', '/i18n', () => json({})],
    ['GET', '/workflow_templates', () => json({})],
    ['GET', '/users', () => json({ storage: 'server', migrated: false })],
    ['GET', '/settings', () => json({})],
    ['GET', '/ws', () => text('No WebSocket UPGRADE hdr: None\n Can "Upgrade" only to "WebSocket".', 400)],
    ['GET', '/', frontPage]
  ]
}

/** Model folders and their files. */
export function modelRoutes({ machine }: ServerContext): Route[] {
  const catalogue = () => machine().catalogue
  const modified = new PythonFloat(Math.floor(Date.now() / 1000) + 0.25)
  return [
    [
      'GET',
      '/embeddings',
      () => json((catalogue().files('embeddings') ?? []).map(({ name }) => name.replace(/\.[^.]*$/, '')))
    ],
    ['GET', '/models', () => json(catalogue().folders())],
    [
      'GET',
      '/models/{}',
      request => {
        const files = catalogue().files(request.params[0] as string)
        return files ? json(files.map(({ name }) => name)) : empty(404)
      }
    ],
    [
      'GET',
      '/experiment/models',
      () => {
        const named = catalogue()
          .folders()
          .filter(name => name !== 'configs' && name !== 'custom_nodes')
        return json(named.map(name => ({ name, folders: [join(machine().folders.base, 'models', name)] })))
      }
    ],
    [
      'GET',
      '/experiment/models/{}',
      request => {
        const files = catalogue().files(request.params[0] as string)
        if (!files) return empty(404)
        return json(files.map(({ name, bytes }) => ({ name, pathIndex: 0, modified, created: modified, size: bytes })))
      }
    ]
  ]
}

function systemStats({ machine, argv }: ServerContext): unknown {
  const { totalBytes, usedBytes } = machine().memory
  const reserved = usedBytes === 0 ? 0 : Math.min(totalBytes, Math.ceil(usedBytes / 33_554_432) * 33_554_432)
  return {
    system: {
      os: 'posix',
      ram_total: totalmem(),
      ram_free: freemem(),
      comfyui_version: '0.3.64',
      required_frontend_version: '1.27.10',
      installed_templates_version: null,
      required_templates_version: '0.1.95',
      python_version: pythonVersion,
      pytorch_version: '2.8.0+cu128',
      embedded_python: false,
      argv: argv()
    },
    devices: [
      {
        name: 'cuda:0 NVIDIA Simulated GPU : cudaMallocAsync',
        type: 'cuda',
        index: 0,
        vram_total: totalBytes,
        vram_free: totalBytes - usedBytes,
        torch_vram_total: reserved,
        torch_vram_free: Math.max(0, reserved - usedBytes)
      }
    ]
  }
}

const page = Buffer.from('<html><title>ComfyUI simulator</title>This is a simulator: it has no front end.</html>\n')

function frontPage(): Reply {
  return {
    status: 200,
    headers: {
      'Cache-Control': 'no-cache',
      Pragma: 'no-cache',
      Expires: '0',
      'Content-Type': 'text/html',
      Etag: `"${page.length.toString(16)}"`,
      'Last-Modified': new Date(0).toUTCString(),
      'Accept-Ranges': 'bytes'
    },
    body: page
  }
}
