/** `npm run configuration`: writes deploy/CONFIGURATION.md. */
import { writeFileSync } from 'node:fs'
import { relative } from 'node:path'
import { configurationTable, tableFile } from './configuration-table.ts'
import { root } from './root.ts'
import { say } from './say.ts'

writeFileSync(tableFile, await configurationTable())
say(`${relative(root, tableFile)} is written`)
