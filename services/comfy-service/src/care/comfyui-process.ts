import { spawn } from 'node:child_process'
import type { Log } from '@comfy-balancer/service-kit/log'
import { signalGroup } from './orphans.ts'
import { createOutputLines, outputLineBounds } from './output-lines.ts'
import { markName, type Owned, ownMark } from './process-mark.ts'

/** How to start ComfyUI: a program with its arguments, in a folder of its own, without the variables that are ours. */
export type ComfyUiCommand = {
  readonly command: readonly [string, ...string[]]
  readonly folder: string | undefined
  /** Names of variables that ComfyUI and its graph nodes, strangers' code, have no business to see. */
  readonly withheld: readonly string[]
}

/** What is being worked on; stands in each line that ComfyUI writes meanwhile. */
export type Moment = { readonly taskId: string; readonly attempt: number }

/** A ComfyUI that this service started, in a process group of its own. */
export type ComfyUiProcess = {
  readonly pid: number | undefined
  /** In words, once it has ended or could not be started. */
  readonly ending: () => string | undefined
  /** Resolves with the same. */
  readonly ended: Promise<string>
  /** SIGTERM for its group, SIGKILL for what is left of it after `graceMs`; resolves when it has ended. */
  readonly stop: (graceMs: number) => Promise<void>
}

/** Starts ComfyUI. Its output goes to the log line by line, with the task of the moment. Should this process leave at once, it takes it along. */
export const startComfyUi = (
  { command: [program, ...words], folder, withheld }: ComfyUiCommand,
  owned: Owned,
  { log, moment }: { readonly log: Log; readonly moment: () => Moment | undefined }
): ComfyUiProcess => {
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !withheld.includes(name)))
  const child = spawn(program, words, {
    ...(folder === undefined ? {} : { cwd: folder }),
    env: { ...env, PYTHONUNBUFFERED: '1', [markName]: ownMark(owned) },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe']
  })
  for (const stream of [child.stdout, child.stderr]) logLines(stream, log, moment)
  const { pid } = child
  const killGroup = () => pid !== undefined && signalGroup(pid, 'SIGKILL')
  process.on('exit', killGroup)
  let ending: string | undefined
  const ended = new Promise<string>(resolve => {
    const end = (words: string) => {
      ending ??= words
      killGroup()
      process.off('exit', killGroup)
      resolve(ending)
    }
    child.once('error', error => end(`it cannot be started: ${error.message}`))
    child.once('exit', (code, signal) => end(signal ? `it ended by ${signal}` : `it ended with code ${code}`))
  })
  return {
    pid,
    ending: () => ending,
    ended,
    async stop(graceMs) {
      if (pid === undefined || ending !== undefined) return
      signalGroup(pid, 'SIGTERM')
      const late = setTimeout(killGroup, graceMs)
      await ended
      clearTimeout(late)
    }
  }
}

const logLines = (stream: NodeJS.ReadableStream, log: Log, moment: () => Moment | undefined): void => {
  const lines = createOutputLines(outputLineBounds, (line, leftOut) => {
    log.info({ source: 'comfyui', ...moment(), ...(leftOut > 0 ? { leftOut } : {}) }, line)
  })
  stream.setEncoding('utf8')
  stream.on('data', (text: string) => lines.add(text))
  stream.on('end', () => lines.end())
  stream.on('error', err => log.warn({ err, source: 'comfyui' }, 'output of comfyui not read'))
}
