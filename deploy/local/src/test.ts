/** `npm test [-- files]`: lint, then every test with a real Redis; ends with the counts that tap itself wrote down. */
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { lint } from './lint.ts'
import { installLogdy } from './logdy.ts'
import { provideRedisOrExit } from './redis.ts'
import { localFolder, root } from './root.ts'
import { installS3Server } from './s3-server.ts'
import { say } from './say.ts'
import { buildTapPlugins, tapProgram } from './tap-plugins.ts'
import { brief, closingLine, readCounts } from './tap-result.ts'

const runTap = (files: string[], recordFile: string, redisUrl: string): Promise<number> => {
  const reporter = process.stdout.isTTY ? 'base' : 'silent'
  const args = [tapProgram, 'run', `--reporter=${reporter}`, `--output-file=${recordFile}`, ...files]
  const child = spawn(process.execPath, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, REDIS_URL: redisUrl }
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
  return new Promise(resolve => child.on('close', code => resolve(code ?? 1)))
}

const readRecord = (file: string): string => {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

const main = async (files: string[]): Promise<number> => {
  const isClean = lint()
  await buildTapPlugins()
  mkdirSync(localFolder, { recursive: true })
  const recordFile = join(localFolder, `tests-${process.pid}.tap`)
  const redis = await provideRedisOrExit()
  if (!(await installS3Server())) say('there is no S3 server, and no Go to build it with: its tests are skipped')
  if (!(await installLogdy())) say('there is no logdy, and no Go to build it with: its test is skipped')
  const code = await runTap(files, recordFile, redis.url).finally(redis.stop)
  const record = readRecord(recordFile)
  rmSync(recordFile, { force: true })
  if (!process.stdout.isTTY) for (const line of brief(record)) say(line)
  const counts = readCounts(record) ?? { passed: 0, failed: 1, skipped: 0, todo: 0 }
  if (!isClean) say('the linter found trouble (above): this run counts as failed')
  if (counts.passed + counts.failed === 0) say('no test was run')
  say(closingLine(counts))
  return code || (isClean && counts.passed > 0 && counts.failed === 0 ? 0 : 1)
}

process.exitCode = await main(process.argv.slice(2))
