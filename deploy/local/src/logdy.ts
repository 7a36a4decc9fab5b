import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from './port.ts'
import { startProcess } from './processes.ts'
import { findOnPath } from './redis-install.ts'
import { localFolder, root } from './root.ts'
import { step } from './say.ts'

const source = 'github.com/logdyhq/logdy-core@v0.17.1'
const ownProgram = join(localFolder, 'bin', 'logdy')
const installWithinMs = 600_000

/** logdy's program, on PATH or built before; undefined when there is none. */
export const findLogdy = (): string | undefined =>
  findOnPath('logdy') ?? (existsSync(ownProgram) ? ownProgram : undefined)

/** Builds logdy where Go is installed and logdy is not. False when there is none after that. */
export const installLogdy = async (): Promise<boolean> => {
  if (findLogdy()) return true
  const go = findOnPath('go')
  if (!go) return false
  mkdirSync(join(localFolder, 'bin'), { recursive: true })
  await step('building logdy with go', () => build(go).catch(() => undefined))
  return findLogdy() !== undefined
}

/** `go install` asks which versions there are, which not every module proxy tells; a download by version does not. */
const build = async (go: string): Promise<void> => {
  const cwd = mkdtempSync(join(tmpdir(), 'logdy-'))
  const run = async (folder: string, ...args: string[]) =>
    (await promisify(execFile)(go, args, { cwd: folder, timeout: installWithinMs })).stdout
  try {
    await run(cwd, 'mod', 'init', 'logdy-build')
    const { Dir: folder } = JSON.parse(await run(cwd, 'mod', 'download', '-json', source)) as { Dir: string }
    await run(folder, 'build', '-trimpath', '-o', ownProgram, '.')
  } finally {
    rmSync(cwd, { recursive: true, force: true })
  }
}

/** Starts logdy with our columns when its program is there, listening on loopback only; undefined when it is not. */
export const startLogdy = async (folder: string) => {
  const command = findLogdy()
  if (!command) return undefined
  const [uiPort, balancerPort, servicePort] = [await freePort(8081), await freePort(8233), await freePort(8234)]
  const process = await startProcess({
    name: 'logdy',
    command,
    args: [
      ...['socket', String(balancerPort), String(servicePort), '--ip', '127.0.0.1'],
      ...['--port', String(uiPort), '--ui-ip', '127.0.0.1', '--config', join(root, 'deploy/logdy/logdy.config.json')],
      ...['--max-message-count', '20000', '--no-analytics', '--no-updates']
    ],
    logFile: join(folder, 'logs', 'logdy.log'),
    readyWhen: line => line.includes('WebUI started') || undefined
  })
  return { url: `http://127.0.0.1:${uiPort}`, balancerPort, servicePort, process }
}
