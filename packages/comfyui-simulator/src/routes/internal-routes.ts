import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { isFolderType } from '../files/folders.ts'
import { empty, json } from '../http/reply.ts'
import type { Route } from '../http/router.ts'
import { isObject } from '../json/python-json.ts'
import { PythonError } from '../json/python-numbers.ts'
import { isTruthy } from '../json/python-text.ts'
import type { ServerContext } from '../server/server-context.ts'

/** What ComfyUI's own front end uses: logs, folders, file lists. */
export function internalRoutes({ log, hub, machine }: ServerContext): Route[] {
  return [
    ['GET', '/internal/logs', () => json(log.text())],
    ['GET', '/internal/logs/raw', () => json(log.raw())],
    [
      'PATCH',
      '/internal/logs/subscribe',
      async request => {
        const body = await request.json()
        if (!isObject(body) || !('clientId' in body)) throw new PythonError('KeyError', "'clientId'")
        hub.setLogReader(String(body.clientId), isTruthy(body.enabled))
        return empty()
      }
    ],
    [
      'GET',
      '/internal/folder_paths',
      () => {
        const { catalogue, folders } = machine()
        return json(new Map(catalogue.folders().map(name => [name, [join(folders.base, 'models', name)]])))
      }
    ],
    [
      'GET',
      '/internal/files/{}',
      request => {
        const type = request.params[0] as string
        if (!isFolderType(type)) return json({ error: 'Invalid directory type' }, 400)
        return json(newestFirst(machine().folders.of(type)))
      }
    ]
  ]
}

function newestFirst(directory: string): string[] {
  const files = readdirSync(directory, { withFileTypes: true }).filter(
    entry => entry.isFile() && !entry.name.startsWith('.')
  )
  return files
    .map(({ name }) => ({ name, changedMs: statSync(join(directory, name)).mtimeMs }))
    .sort((a, b) => b.changedMs - a.changedMs)
    .map(({ name }) => name)
}
