import { execFile } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from './port.ts'
import { type Process, startProcess } from './processes.ts'
import { findOnPath } from './redis-install.ts'
import { localFolder } from './root.ts'
import { step } from './say.ts'

/** An S3-compatible server of our own with one empty bucket, and the environment that leads a service to it. */
export type S3Server = {
  readonly endpoint: string
  readonly bucket: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly env: Readonly<Record<string, string>>
  readonly process: Process
}

/** versitygw: an S3 server for a folder that checks every signature. */
const source = 'github.com/versity/versitygw/cmd/versitygw@v1.8.0'
const ownBin = join(localFolder, 'bin')
const installWithinMs = 600_000
const keys = { accessKeyId: 'local-access-key', secretAccessKey: 'local-secret-key' }
const bucket = 'outputs'

/** The S3 server's program, on PATH or built before; undefined when there is none. */
export const findS3Server = (): string | undefined => {
  const own = join(ownBin, 'versitygw')
  return findOnPath('versitygw') ?? (existsSync(own) ? own : undefined)
}

/** Builds the S3 server where Go is installed and the server is not. False when there is none after that. */
export const installS3Server = async (): Promise<boolean> => {
  if (findS3Server()) return true
  const go = findOnPath('go')
  if (!go) return false
  const env = { ...process.env, GOBIN: ownBin, GOFLAGS: '-mod=mod' }
  const build = () => promisify(execFile)(go, ['install', source], { env, timeout: installWithinMs, cwd: localFolder })
  mkdirSync(localFolder, { recursive: true })
  await step('building an S3 server with go', () => build().catch(() => undefined))
  return findS3Server() !== undefined
}

/** Starts an S3 server on a free port of loopback, or on the one given; undefined when there is no program for it. */
export const startS3Server = async (folder: string, port?: number): Promise<S3Server | undefined> => {
  const command = findS3Server()
  if (!command) return undefined
  for (const name of [join('buckets', bucket), 'sidecar']) mkdirSync(join(folder, name), { recursive: true })
  const address = `127.0.0.1:${port ?? (await freePort())}`
  const process = await startProcess({
    name: 's3',
    command,
    args: ['--port', address, 'posix', '--sidecar', join(folder, 'sidecar'), join(folder, 'buckets')],
    env: { ROOT_ACCESS_KEY: keys.accessKeyId, ROOT_SECRET_KEY: keys.secretAccessKey },
    logFile: join(folder, 's3.log'),
    readyWhen: line => line.includes(`http://${address}`) || undefined
  })
  const endpoint = `http://${address}`
  return { endpoint, bucket, ...keys, env: environment(endpoint), process }
}

const environment = (endpoint: string): Record<string, string> => ({
  OUTPUT_STORE: 's3',
  S3_ENDPOINT: endpoint,
  S3_BUCKET: bucket,
  S3_ACCESS_KEY: keys.accessKeyId,
  S3_SECRET_KEY: keys.secretAccessKey
})
