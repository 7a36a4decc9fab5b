import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { createCaller } from './caller.ts'
import { until } from './wait.ts'

/** One line of the service's log. */
export type Line = { readonly msg?: string; readonly taskId?: string; readonly level: number } & Record<string, unknown>

export type ServiceProcess = ReturnType<typeof startService>

const main = fileURLToPath(new URL('../src/main.js', import.meta.url))
const shortEnv = {
  NODE_ID: 'gpu-test',
  HEARTBEAT_MS: '100',
  LEASE_MS: '1500',
  NODE_ALIVE_MS: '1000',
  BLIND_MS: '60000',
  HOST: '127.0.0.1',
  COMFYUI_CANCEL_SECONDS: '2'
}

/** A port that was free a moment ago. */
export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

/** Starts comfy-service as it is started in earnest, with short times. `said` gives the log lines with a message. */
export const startService = (port: number, env: Record<string, string | undefined>) => {
  const child = spawn(process.execPath, [main], {
    env: { ...process.env, ...shortEnv, PORT: String(port), METRICS_PORT: '0', ...env },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  const lines: Line[] = []
  let stderr = ''
  createInterface({ input: child.stdout }).on('line', line => lines.push(JSON.parse(line) as Line))
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk
  })
  const exited = exitOf(child)
  const said = (msg: string): Line[] => lines.filter(line => line.msg === msg)
  return {
    ...createCaller(`http://127.0.0.1:${port}`),
    lines,
    said,
    stderr: () => stderr,
    exited,
    isRunning: () => child.exitCode === null && child.signalCode === null,
    kill: (signal: NodeJS.Signals) => child.kill(signal),
    untilSaid: (msg: string, times = 1): Promise<Line> =>
      until(`the service says "${msg}"`, () => {
        const found = said(msg)[times - 1]
        if (!found && child.exitCode !== null) throw new Error(`it has ended: ${stderr}${JSON.stringify(lines)}`)
        return found
      }),
    /** Ends it whatever its state. */
    end: async (): Promise<void> => {
      child.kill('SIGKILL')
      await exited
    }
  }
}

/** Tells the last of what a service logged, where the test has failed. */
export const tellFailed = (t: Test, { lines }: ServiceProcess): void => {
  if (t.passing()) return
  const last = lines.slice(-60).map(line => JSON.stringify(line))
  t.comment(last.join('\n'))
}

const exitOf = async (child: ChildProcess): Promise<{ code: number | null; signal: NodeJS.Signals | null }> => {
  const [code, signal] = await once(child, 'close')
  return { code, signal }
}
