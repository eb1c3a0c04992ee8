import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { FileDocument, Visibility } from '../api';
import type { FileList } from '../files/list';
import { copyLink, downloadFile, openFile } from '../files/share';
import { ago, bytes, exactTime } from '../format';
import { FileBadge } from './file-badge';
import { CheckIcon, DownloadIcon, GlobeIcon, LinkIcon, LockIcon, PencilIcon, TrashIcon } from './icons';

const COPIED_SHOWN_MS = 2500;

interface Props {
  file: FileDocument;
  /** It arrived while the page was open. */
  fresh: boolean;
  files: FileList;
  onRemove: () => void;
}

export function FileRow({ file, fresh, files, onRemove }: Props) {
  const [renaming, setRenaming] = useState(false);
  const rename = useRef<HTMLButtonElement>(null);
  const endRenaming = () => {
    setRenaming(false);
    rename.current?.focus();
  };
  const created = new Date(file.created);
  return (
    <li class={fresh ? 'file fresh' : 'file'} data-id={file.id}>
      <FileBadge name={file.name} type={file.type} />
      <div class="file-body">
        {renaming ? (
          <RenameForm file={file} files={files} onEnd={endRenaming} />
        ) : (
          <button type="button" class="name" title={`Open ${file.name}`} onClick={() => void openFile(file)}>
            {file.name}
          </button>
        )}
        <p class="meta">
          {bytes(file.size)} ·{' '}
          <time dateTime={file.created} title={exactTime(created)}>
            {ago(created, new Date())}
          </time>
        </p>
      </div>
      <VisibilitySelect file={file} files={files} />
      <div class="actions">
        <CopyButton file={file} />
        <button
          type="button"
          class="button quiet icon-only"
          aria-label={`Download: ${file.name}`}
          title="Download"
          onClick={() => void downloadFile(file)}
        >
          <DownloadIcon />
        </button>
        <button
          ref={rename}
          type="button"
          class="button quiet icon-only"
          aria-label={`Rename: ${file.name}`}
          title="Rename"
          onClick={() => setRenaming(true)}
        >
          <PencilIcon />
        </button>
        <button
          type="button"
          class="button quiet danger icon-only"
          aria-label={`Delete: ${file.name}`}
          title="Delete"
          onClick={onRemove}
        >
          <TrashIcon />
        </button>
      </div>
    </li>
  );
}

function CopyButton({ file }: { file: FileDocument }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), COPIED_SHOWN_MS);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <button
      type="button"
      class="button quiet copy"
      aria-label={`Copy link: ${file.name}`}
      title="Copy link"
      onClick={async () => setCopied(await copyLink(file))}
    >
      {copied ? <CheckIcon /> : <LinkIcon />}
      <span class="swap" aria-hidden="true">
        <span class={copied ? '' : 'shown'}>Copy link</span>
        <span class={copied ? 'shown' : ''}>Copied</span>
      </span>
    </button>
  );
}

const VISIBILITIES: { value: Visibility; label: string }[] = [
  { value: 'private', label: 'Only me' },
  { value: 'link', label: 'With a link' },
  { value: 'public', label: 'Everyone' },
];
const VISIBILITY_ICON = { private: LockIcon, link: LinkIcon, public: GlobeIcon };

function VisibilitySelect({ file, files }: { file: FileDocument; files: FileList }) {
  const Icon = VISIBILITY_ICON[file.visibility];
  return (
    <span class="visibility" data-visibility={file.visibility}>
      <Icon />
      <select
        aria-label={`Who can see ${file.name}`}
        value={file.visibility}
        onChange={(event) => void files.setVisibility(file, event.currentTarget.value as Visibility)}
      >
        {VISIBILITIES.map(({ value, label }) => (
          <option key={value} value={value} selected={value === file.visibility}>
            {label}
          </option>
        ))}
      </select>
    </span>
  );
}

/** Enter keeps the new name, Escape the old one. */
function RenameForm({ file, files, onEnd }: { file: FileDocument; files: FileList; onEnd: () => void }) {
  const [problem, setProblem] = useState<string | null>(null);
  const field = useRef<HTMLInputElement>(null);
  // Before the next key can arrive.
  useLayoutEffect(() => {
    field.current?.focus();
    // Without the suffix: that is what one mostly keeps.
    const stem = file.name.lastIndexOf('.');
    field.current?.setSelectionRange(0, stem > 0 ? stem : file.name.length);
  }, []);

  const submit = async (event: Event) => {
    event.preventDefault();
    const name = field.current?.value.trim() ?? '';
    if (!name || name === file.name) return onEnd();
    const failure = await files.rename(file, name);
    if (!failure) return onEnd();
    setProblem(failure.words());
    field.current?.focus();
  };
  const problemId = `rename-problem-${file.id}`;
  return (
    <form class="rename" onSubmit={submit} onKeyDown={(event) => event.key === 'Escape' && onEnd()}>
      <input
        ref={field}
        class="field"
        aria-label={`New name of ${file.name}`}
        aria-invalid={problem !== null}
        aria-describedby={problem ? problemId : undefined}
        defaultValue={file.name}
        spellcheck={false}
      />
      <button type="submit" class="button accent small">
        Save
      </button>
      <button type="button" class="button quiet small" onClick={onEnd}>
        Cancel
      </button>
      {problem && (
        <p id={problemId} class="problem" role="alert">
          {problem}
        </p>
      )}
    </form>
  );
}
