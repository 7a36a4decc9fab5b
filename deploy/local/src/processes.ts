import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, fstatSync, mkdirSync, openSync, readFileSync, renameSync, statSync } from 'node:fs'
import { dirname, relative } from 'node:path'
import { guard } from './guard.ts'
import { root } from './root.ts'
import { until } from './until.ts'

/** How a process ended: by itself with a code, or by a signal. */
export type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null }

/** A child of ours. It stands in a process group of its own, so that Ctrl-C reaches only us and we choose the order of the end. */
export type Process = {
  readonly name: string
  readonly pid: number
  readonly logFile: string
  readonly exited: Promise<Exit>
  readonly isRunning: () => boolean
  readonly kill: (signal: NodeJS.Signals) => void
  /** SIGTERM, and SIGKILL for its whole group when it is still there after `graceMs`. */
  readonly stop: (graceMs?: number) => Promise<Exit>
  /** The end of what it wrote, for messages about its failure. */
  readonly lastLines: (count?: number) => string
}

export type StartOptions<T> = {
  readonly name: string
  readonly command: string
  readonly args?: readonly string[]
  /** Added to our own environment; undefined takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** What it writes to stdout and stderr is appended here; a file past 16 MiB is first moved to `.1`. */
  readonly logFile: string
  /** Reads one line of its output; anything but undefined means that it is ready. */
  readonly readyWhen: (line: string) => T | undefined
  readonly readyWithinMs?: number
}

const maxLogBytes = 16 * 1024 * 1024

/** Starts a program and waits until it says that it is ready; throws with the last lines of its log when it ends or stays silent instead. */
export const startProcess = async <T>(options: StartOptions<T>): Promise<Process & { readonly ready: T }> => {
  const { readyWithinMs = 30_000 } = options
  const { child, logFrom } = launch(options)
  const started = await new Promise<Error | undefined>(resolve => {
    child.once('spawn', () => resolve(undefined))
    child.once('error', resolve)
  })
  if (started) throw new Error(`${options.name} cannot be started: ${started.message}`)
  const running = describe(options, child, logFrom)
  const ready = await until(() => {
    const answer = readLines(options.logFile, logFrom).map(options.readyWhen)
    return answer.find(one => one !== undefined) ?? (running.isRunning() ? undefined : null)
  }, readyWithinMs)
  if (ready !== undefined && ready !== null) return { ...running, ready }
  const what = running.isRunning()
    ? `is not ready after ${readyWithinMs / 1000} s`
    : `ended (${ending(await running.exited)})`
  await running.stop(1_000)
  throw new Error(`${options.name} ${what}; the end of ${relative(root, options.logFile)}:\n${running.lastLines()}`)
}

/** An exit in words. */
export const ending = ({ code, signal }: Exit): string => (signal ? `signal ${signal}` : `code ${code}`)

const launch = <T>({ command, args = [], env = {}, logFile }: StartOptions<T>) => {
  mkdirSync(dirname(logFile), { recursive: true })
  if ((statSync(logFile, { throwIfNoEntry: false })?.size ?? 0) > maxLogBytes) renameSync(logFile, `${logFile}.1`)
  const log = openSync(logFile, 'a')
  const logFrom = fstatSync(log).size
  const child = spawn(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    detached: true,
    stdio: ['ignore', log, log]
  })
  closeSync(log)
  return { child, logFrom }
}

const describe = <T>({ name, logFile }: StartOptions<T>, child: ChildProcess, logFrom: number): Process => {
  const pid = child.pid as number
  const release = guard(pid)
  const exited = new Promise<Exit>(resolve => {
    child.once('exit', (code, signal) => {
      release()
      resolve({ code, signal })
    })
  })
  const isRunning = () => child.exitCode === null && child.signalCode === null
  const kill = (signal: NodeJS.Signals) => {
    child.kill(signal)
  }
  return {
    name,
    pid,
    logFile,
    exited,
    isRunning,
    kill,
    stop: async (graceMs = 10_000) => {
      kill('SIGTERM')
      if (await until(() => (isRunning() ? undefined : true), graceMs)) return exited
      killGroup(pid)
      return exited
    },
    lastLines: (count = 15) => readLines(logFile, logFrom).slice(-count).join('\n') || '(nothing)'
  }
}

const killGroup = (pid: number): void => {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // It has ended meanwhile.
  }
}

const readLines = (file: string, from: number): string[] =>
  readFileSync(file).subarray(from).toString('utf8').split('\n').filter(Boolean)
