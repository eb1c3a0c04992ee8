import { useEffect, useRef, useState } from 'preact/hooks';
import type { FileDocument } from '../api';
import type { FileList, FileListState } from '../files/list';
import { useStore } from '../store';
import { FileRow } from './file-row';
import { SearchIcon } from './icons';

/** A new look at the server waits this long for the next key. */
const TYPING_MS = 220;
const SKELETON_ROWS = 3;

export function FileSection({ files }: { files: FileList }) {
  const state = useStore(files.state);
  const title = useRef<HTMLHeadingElement>(null);
  const remove = (file: FileDocument) => {
    files.remove(file);
    // The button that had the focus is gone with its row.
    title.current?.focus();
  };
  return (
    <section class="card" aria-labelledby="files-title" aria-busy={state.loading === 'first'}>
      <div class="section-head">
        <h2 id="files-title" ref={title} tabIndex={-1}>
          Your files
        </h2>
        <Search onSearch={(prefix) => void files.search(prefix)} />
      </div>
      {state.problem && <ListProblem state={state} files={files} />}
      <ul class="rows" aria-label="Files">
        {state.loading === 'first' && state.files.length === 0
          ? Array.from({ length: SKELETON_ROWS }, (_, index) => <li key={index} class="skeleton" aria-hidden="true" />)
          : state.files.map((file) => (
              <FileRow
                key={file.id}
                file={file}
                fresh={state.fresh.has(file.id)}
                files={files}
                onRemove={() => remove(file)}
              />
            ))}
      </ul>
      {state.files.length === 0 && !state.loading && !state.problem && <Empty prefix={state.prefix} />}
      {state.cursor && (
        <div class="more">
          <button
            type="button"
            class="button quiet"
            aria-disabled={state.loading === 'more'}
            onClick={() => state.loading || void files.more()}
          >
            {state.loading === 'more' ? 'Loading…' : 'Show more'}
          </button>
        </div>
      )}
    </section>
  );
}

function Search({ onSearch }: { onSearch: (prefix: string) => void }) {
  const [prefix, setPrefix] = useState('');
  const searched = useRef('');
  useEffect(() => {
    if (prefix === searched.current) return;
    const timer = setTimeout(() => {
      searched.current = prefix;
      onSearch(prefix);
    }, TYPING_MS);
    return () => clearTimeout(timer);
  }, [prefix]);
  return (
    <div class="search" role="search">
      <SearchIcon />
      <input
        class="field"
        type="search"
        aria-label="Find files whose name begins with"
        placeholder="Name begins with…"
        spellcheck={false}
        value={prefix}
        onInput={(event) => setPrefix(event.currentTarget.value)}
      />
    </div>
  );
}

function ListProblem({ state, files }: { state: FileListState; files: FileList }) {
  return (
    <div class="problem banner" role="alert">
      <p>Your files could not be listed. {state.problem?.words()}</p>
      <button type="button" class="button quiet small" onClick={() => void files.search(state.prefix)}>
        Try again
      </button>
    </div>
  );
}

function Empty({ prefix }: { prefix: string }) {
  if (prefix) return <p class="empty">No file’s name begins with “{prefix}”.</p>;
  return (
    <div class="empty">
      <svg viewBox="0 0 120 78" aria-hidden="true" focusable="false">
        <path d="M60 44V14m0 0L48 26m12-12 12 12" />
        <path d="M30 40a30 22 0 0 0 60 0M14 40a46 34 0 0 0 92 0" class="faint" />
      </svg>
      <p class="empty-title">Nothing here yet</p>
      <p class="muted">Files you upload appear here, ready to share.</p>
    </div>
  );
}
